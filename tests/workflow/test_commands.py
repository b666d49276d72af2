"""Every rule's command in a study of thousands of runs: none is too long for the system."""

import copy
import json
import os
import sys
from collections import defaultdict

import yaml

from ke_steps.settings.cluster import Jobs
from tests.invented.project import FORKS, ROOT

MOST_BYTES = 32_000
"""A quarter of what Linux takes as one argument, which a whole command is to bash."""

SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
NUM_STEPS, NUM_DRAWS, SEEDS = 40, 20, [0, 1, 2]
"""Of checkpoints, of variants beside each, and of runs of each of these: 2,520."""
NUM_SHARDS = 64

MODELS = {"fetch_checkpoint": "outside", "branch_checkpoint": "branched"}
"""Whose jobs these rules have; the others have some of the nursery's."""


def study_of(num_steps, num_shards):
    """Return a study of so many checkpoints of a nursery, and two other models."""
    study = copy.deepcopy(SMOKE) | {"seeds": SEEDS}
    hub = {"kind": "hub", "repo": "a/b", "revision": "step{step}"}
    branch = {"kind": "branch", "model": "tiny", "corpus": "continual", "learning_rate": 1e-3}
    branch |= {"num_steps": 2, "batch_size_sequences": 4, "micro_batch_size_sequences": 4}
    study["models"] = {
        "tiny": {"source": {"kind": "nursery"}, "steps": list(range(num_steps))},
        "outside": {"source": hub, "steps": [0, 1]},
        "branched": {"source": branch, "steps": [0, 1]},
    }
    study["pretrain_nursery"]["num_steps"] = num_steps
    shuffled = SMOKE["variants"]["shuffled"] | {"num_draws": NUM_DRAWS, "steps": None}
    study["variants"] = {"shuffled": shuffled}
    learning = SMOKE["recipes"]["baseline"] | {"variants": ["original", "shuffled"]}
    study["recipes"] = {"baseline": learning}
    for corpus in study["corpora"].values():
        corpus["num_sequences"] = 2000
    study["extract_coefficients"] |= {
        **{"num_sequences": 256, "num_groups": NUM_SHARDS, "num_shards": num_shards},
        **{f"num_{each}_sequences": 64 for each in ("attribution", "attention", "next_token")},
    }
    return study


def write_commands(config, target):
    """Write {rule: the command of one of its jobs} as JSON; runs in a process of its own."""
    sys.dont_write_bytecode = True
    os.chdir(ROOT)
    from snakemake.api import SnakemakeApi
    from snakemake.dag import DAG
    from snakemake.jobs import Job
    from snakemake.settings.types import ConfigSettings, DAGSettings, ResourceSettings

    place = {"step": "1", "recipe": "baseline", "seed": "0"}
    place |= {"corpus": "pretraining", "shard": "0"}
    with SnakemakeApi() as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[config]),
            snakefile=ROOT / "Snakefile",
        )._workflow
        workflow.dag_settings = DAGSettings()
        workflow._dag = dag = DAG(workflow, rules=workflow.rules)
        dag._jobid = defaultdict(int)
        place["variant"] = list(workflow.globals["STUDY"].arms)[-1]
        commands = {}
        for rule in workflow.rules:
            if rule.shellcmd:
                known = place | {"model": MODELS.get(rule.name, "tiny")}
                wildcards = {name: known[name] for name in rule.wildcard_names}
                commands[rule.name] = Job(rule, dag, wildcards).shellcmd
    target.write_text(json.dumps(commands))


def commands(folder, num_steps, num_shards):
    """Return a command of each rule of a study."""
    config, target = folder / "study.yaml", folder / "commands.json"
    study = study_of(num_steps, num_shards) | {"results_dir": str(folder / "results")}
    config.write_text(yaml.safe_dump(study))
    process = FORKS.start(write_commands, config, target)
    process.join()
    return json.loads(target.read_text())


def test_no_command_grows_with_the_study(tmp_path):
    found = commands(tmp_path, 2, 1) | commands(tmp_path, NUM_STEPS, NUM_SHARDS)
    assert found.keys() == Jobs.model_fields.keys()
    assert {rule for rule, text in found.items() if len(text.encode()) > MOST_BYTES} == set()
