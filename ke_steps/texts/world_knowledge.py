"""New knowledge of the synthetic world: passages, their paraphrases and 15 probes each (FACTS 2).

A passage tells six facts about people and a workshop that no other text names. Their cities and
instruments are old: what is new is the link, as in the invented articles of FICTIONAL KNOWLEDGE.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from ke_steps.settings.texts import World
from ke_steps.texts.passages import Passage, Probe
from ke_steps.texts.world import FAMILY_NAME_ENDINGS, Inhabitants, generator_for, inhabitants
from ke_steps.texts.world_names import Namer
from ke_steps.texts.world_words import COMPOSITIONS, FACTS

NUM_PARAPHRASES = 9
NUM_PROBES_PER_KIND = 5


def knowledge_passages(world: World, num_passages: int) -> list[Passage]:
    """Return the first ``num_passages`` invented passages; a larger number only adds to them."""
    those = inhabitants(world)
    generator = generator_for(world, "knowledge passages")
    namer = Namer(generator, those.names)
    return [_passage(those, namer, generator) for _ in range(num_passages)]


def _passage(those: Inhabitants, namer: Namer, generator: random.Random) -> Passage:
    city, birthplace = generator.sample(those.pools["birthplace"], 2)
    roles = {
        "person": _full_name(namer),
        "spouse": _full_name(namer),
        "boss": _full_name(namer),
        "workshop": namer.word("co", "x"),
        "city": city,
        "birthplace": birthplace,
        "instrument": generator.choice(those.pools["instrument"]),
    }
    original = [generator.choice(fact.original) for fact in FACTS]
    texts = [_text(original, roles, generator)]
    while len(texts) <= NUM_PARAPHRASES:
        told = [generator.choice(fact.paraphrases) for fact in FACTS]
        text = _text(told, roles, generator)
        if text not in texts:
            texts.append(text)
    return Passage(tuple(texts), _probes(original, roles, generator))


def _full_name(namer: Namer) -> str:
    return f"{namer.word('')} {namer.word(*FAMILY_NAME_ENDINGS)}"


def _text(templates: list[str], roles: Mapping[str, str], generator: random.Random) -> str:
    sentences = [template.format_map(roles) for template in templates]
    generator.shuffle(sentences)
    return " ".join(sentences)


def _probes(
    original: list[str], roles: Mapping[str, str], generator: random.Random
) -> tuple[Probe, ...]:
    """Return five probes of each kind; memorization and semantic ones ask five of the six facts."""
    numbers = range(len(FACTS))
    memorization = generator.sample(numbers, NUM_PROBES_PER_KIND)
    semantic = generator.sample(numbers, NUM_PROBES_PER_KIND)
    return (
        *(_probe("memorization", original[n].removesuffix("."), roles) for n in memorization),
        *(_probe("semantic", FACTS[n].semantic, roles) for n in semantic),
        *(_probe("compositional", sentence, roles) for sentence, _ in COMPOSITIONS),
    )


def _probe(kind: str, template: str, roles: Mapping[str, str]) -> Probe:
    prompt, _, target = template.rpartition(" ")
    return Probe(kind, prompt.format_map(roles), target.format_map(roles))
