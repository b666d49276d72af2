"""Random activity of memories, as tables of coefficients."""

import numpy as np

from ke_steps.artefacts.measure_schemas import coefficients_schema
from ke_steps.artefacts.parquet import write_table


def random_activity(num_layers=3, num_groups=8, m=50, seed=0):
    return np.random.default_rng(seed).gamma(0.5, size=(num_layers, num_groups, m))


def write_coefficients(path, group_activity, **columns):
    """Write activities (L, G, m) as mean |c|, and by default half of it as mean c; all ‖v‖ = 1.

    ``columns`` are others of the table: by memory (L, m), or by group (L, G, m).
    """
    num_layers, num_groups, m = group_activity.shape
    size = num_layers * m
    flat = group_activity.swapaxes(1, 2).reshape(size, num_groups)
    table = {
        "layer": np.repeat(np.arange(num_layers), m),
        "memory": np.tile(np.arange(m), num_layers),
        "mean_absolute": flat.mean(axis=1),
        "mean": flat.mean(axis=1) / 2,
        "mean_square": np.zeros(size),
        "active_fraction": np.zeros(size),
        "memory_norm": np.ones(size),
        "group_mean_absolute": list(flat),
        "group_mean": list(flat / 2),
        "group_mean_relu_gate": [None] * size,
        "group_mean_attribution": [None] * size,
    }
    for name, values in columns.items():
        by_memory = values.swapaxes(1, 2).reshape(size, -1) if values.ndim == 3 else values.ravel()
        table[name] = list(by_memory)
    write_table(path, table, coefficients_schema(num_groups))
    return path
