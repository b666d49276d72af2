"""The synthetic study, summarised: what tests of claims and of the summary start from."""

from pathlib import Path

import pandas as pd
import pytest
from synthetic_study import SyntheticStudy

from ke_steps import _schemas, _tables


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return SyntheticStudy(tmp_path_factory.mktemp("study")).build()


@pytest.fixture
def summary(tables: dict[str, Path]) -> pd.DataFrame:
    return _tables.read_frame(tables["summary"], _schemas.SUMMARY)
