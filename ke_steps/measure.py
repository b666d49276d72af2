"""The command that measures one model, or a row of checkpoints: ``public.command``.

Example::

    python -m ke_steps.measure EleutherAI/pythia-14m --text book.txt
    python -m ke_steps.measure allenai/OLMo-1B-hf --revision 'step{step}-*' --step 369000 738020 \
        --text a.jsonl.zst b.parquet --csv
"""

from __future__ import annotations

import sys
from typing import Any, cast

from ke_steps.public.call import measure
from ke_steps.public.command import main

if __name__ == "__main__":
    main()
else:
    # imported, the module of the command would hide the function of its name in the package
    sys.modules[__name__] = cast(Any, measure)
