"""What has not begun, summed up, against the sums over a list."""

import random

from pytest import approx
from snakemake_logger_plugin_study.ahead import Ahead

from ke_steps.planning.planned_jobs import SCORING, PlannedJob, Work

TRAINING = Work("training", "bf16")


def test_sums_are_those_of_the_jobs_that_have_not_begun():
    chance = random.Random(0)
    jobs = {
        (rule, str(number)): PlannedJob(
            rule, str(number), flops={work: chance.uniform(1, 1e15) for work in works}
        )
        for rule, works in (("train", (TRAINING, SCORING)), ("score", (SCORING,)), ("draw", ()))
        for number in range(50)
    }
    ahead, left, begun = Ahead(jobs), dict(jobs), []
    order = chance.sample(list(jobs), len(jobs))
    for key in order[:-5]:
        begun += [key, ("train", "again")]  # one that no plan names
        begun += begun[-2:-1]  # it failed and began again
        left.pop(key)
        ahead.leave_out(begun)
        rest = [job for job in left.values() if job.rule == key[0]]
        mean = ahead.mean(key[0])
        assert mean.rule == key[0]
        for work in mean.flops if rest else ():
            expected = sum(job.flops[work] for job in rest) / len(rest)
            assert mean.flops[work] == approx(expected, abs=1e3)  # of operations
    assert ahead.mean("unknown") == PlannedJob("unknown")
