"""What a run of a study would do now, by rule, and what it would refuse to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ke_steps.job.errors import UserError
from ke_steps.planning.dry_run import (
    EVALUATION,
    JOBS,
    NUMBERS,
    RULES,
    TRAINING,
    answer,
    ask,
    jobs_told,
    models_read_only,
    num_jobs_told,
)
from ke_steps.planning.planned_jobs import PlannedJob
from ke_steps.settings.study import Study
from ke_steps.study.requests import DEFAULTS
from ke_steps.study.trained_models import manifest_of, refuse_missing, without_weights


class ToDo:
    """What there is to do, asked of Snakemake, which looks for it while this process goes on.

    Where no result is there, a run does all jobs, and which these are is known: only whether
    Snakemake takes the study and its profile is asked then, which saves building the DAG.

    Attributes:
        is_begun: whether any result may be there: a rule has its folder. Another study may have
            its results below, and a run that was refused leaves a lock.
    """

    def __init__(self, study: Study, command: Sequence[str]) -> None:
        """Ask. The command is Snakemake's for the study."""
        self._study, self._command = study, command
        self.is_begun = any(Path(study.results_dir, rule).exists() for rule in DEFAULTS)
        self._asked = ask(command, NUMBERS if self.is_begun else RULES)

    def numbers(self, planned: Iterable[PlannedJob]) -> Counter[str]:
        """Return how many jobs of each rule a run would do.

        Args:
            planned: all jobs of the study.

        Raises:
            UserError: Snakemake refuses the study or its profile.
        """
        said = answer(self._asked)
        if self.is_begun:
            return num_jobs_told(said)
        return Counter(job.rule for job in planned)

    def refusal(self, numbers: Counter[str]) -> str | None:
        """Return in what words a run would refuse to do these: weights that it needs are gone.

        Which models are read is asked only where one without weights may be among them: to be
        told of each job takes Snakemake half as long again.
        """
        study = self._study
        trained = [path for run in study.runs() if Path(path := manifest_of(study, run)).is_file()]
        if numbers[EVALUATION] <= numbers[TRAINING] or not without_weights(trained):
            return None
        jobs = jobs_told(answer(ask(self._command, JOBS)))
        try:
            refuse_missing(study, models_read_only(study.results_dir, jobs))
        except UserError as error:
            return str(error)
        return None
