"""Which templates training never sees."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final

from chimerac.frontends.training.recipes.home.templates import Template

SHARE: Final = 0.125  #: of an intent's templates


def held_out_templates(templates: Iterable[Template], seed: int) -> frozenset[str]:
    """Ids of the held-out templates: of each intent about an eighth, at least one where that leaves what it fills.

    A template is held out only if another one of its group (same intent, same slots) stays for training, because no
    model can guess a phrase such as "who made you" from other phrases. Templates of an intent with the same text are
    held out together.
    """
    generator = random.Random(f"{seed} templates")
    by_intent: dict[str, list[Template]] = {}
    for template in templates:
        by_intent.setdefault(template.intent, []).append(template)
    held: set[str] = set()
    for own in by_intent.values():
        wanted = max(1, round(SHARE * len(own)))
        texts = sorted({template.text for template in own})
        generator.shuffle(texts)
        taken = 0
        for text in texts:
            if taken >= wanted:
                break
            same = [template for template in own if template.text == text]
            ids = {template.id for template in same}
            if all(_left(own, template.group, held | ids) for template in same):
                held |= ids
                taken += len(ids)
    return frozenset(held)


def _left(own: list[Template], group: str, without: set[str]) -> bool:
    return any(template.group == group and template.id not in without for template in own)
