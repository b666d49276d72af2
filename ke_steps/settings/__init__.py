"""Every setting of a study, as pydantic models: the only reader of the config.

Nouns (``Corpus``, ``Recipe``, …) are the entries of a config file. Verbs (``PrepareCorpus``,
``InjectKnowledge``, …) are what one job of that step receives as ``--settings``: the entry plus
the few values of its wildcards. ``study.Study`` joins them into the whole config. Classes here hold
data and refuse what is wrong; they compute nothing, so that a result can depend on them only
through the values that a rule passes on. Nothing here imports torch or transformers.
"""
