"""The list of manifests: every checkpoint once, steps in the order of numbers."""

from __future__ import annotations

import base64
import io

import pandas as pd

from ke_steps.report.manifests import manifest_table


def test_steps_are_in_the_order_of_numbers() -> None:
    made = [("fetch_checkpoint", "m", 1000), ("branch_checkpoint", "m", 300)]
    made += [("fetch_checkpoint", "m", 200), ("keep_checkpoint", "a", 5000), ("intervene", "m", 1)]
    records = [
        {
            "step": step,
            "outputs": {
                f"results/{step}/{model}/step{number}/manifest.json": f"{number:064x}",
                f"results/{step}/{model}/step{number}/model.safetensors": "0" * 64,
            },
        }
        for step, model, number in made
    ]
    table = manifest_table(records)
    assert table is not None
    found = [(row[0], row[1], int(row[2], 16)) for row in table.rows]
    assert found == [
        ("a", "5,000", 5000),
        ("m", "200", 200),
        ("m", "300", 300),
        ("m", "1,000", 1000),
    ]
    full = pd.read_csv(io.BytesIO(base64.b64decode(table.csv.partition(",")[2])))
    assert full["step"].tolist() == [5000, 200, 300, 1000]
    assert full["manifest"].iloc[1] == "results/fetch_checkpoint/m/step200/manifest.json"
    assert manifest_table(records[-1:]) is None
