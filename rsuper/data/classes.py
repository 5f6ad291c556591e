"""Which lesion classes and structures a data set can teach, where a person does not name them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from llm_extract.anatomy import Anatomy, load_anatomy
from rsuper.data.layout import Dataset
from rsuper.errors import UsageError
from rsuper.supervision import SupervisionPolicy, load_policy, organ_of_class
from rsuper.supervision.inputs import check_policy


def suggest_classes(
    dataset: Dataset,
    lesion_classes: Sequence[str] = (),
    structures: Sequence[str] | None = None,
    *,
    policy: SupervisionPolicy | None = None,
    anatomy: Anatomy | None = None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lesion classes and structures of a data set, where a person does not name them.

    Args:
        dataset: an opened dataset folder.
        lesion_classes: the wanted ones; empty takes every class with a human mask in some case.
        structures: the wanted ones; None takes the organs of these classes that every case has.
        policy: which lesions count for which class; None is the default preset.
        anatomy: the table of organs; None is the built-in one.

    Returns:
        Lesion classes and structures, for ``PrepareConfig``.

    Raises:
        UsageError: ``missing_argument`` if there is no lesion mask to go by; ``unknown_lesion_class`` if neither a
            mask nor the anatomy table nor the policy knows a class that is wanted; ``unknown_organ`` if a rule of the
            policy names one.
    """
    labelled = set().union(*(dataset.lesion_classes(entry) for entry in dataset.cases))
    table = anatomy or load_anatomy()
    rules = policy or load_policy()
    check_policy(rules, table)
    _require_known(lesion_classes, labelled, policy=rules, anatomy=table)
    chosen = tuple(lesion_classes) or tuple(sorted(labelled))
    if not chosen:
        raise UsageError(
            "no case has a lesion mask, so the lesion classes must be named",
            code="missing_argument",
            hint="add --lesion-class pancreas_lesion, or another organ",
        )
    if structures is not None:
        return chosen, tuple(structures)
    organs = [organ for name in chosen if (organ := organ_of_class(name, table)) is not None]
    hosts = dict.fromkeys(stem for organ in organs for stem in table.organ_structures(organ))
    everywhere = frozenset.intersection(*(dataset.structures(entry) for entry in dataset.cases))
    return chosen, tuple(stem for stem in hosts if stem in everywhere)


def _require_known(
    lesion_classes: Sequence[str],
    labelled: Collection[str],
    *,
    policy: SupervisionPolicy,
    anatomy: Anatomy,
) -> None:
    """A misspelt class would be prepared without a single target."""
    known = {
        *labelled,
        *(organ.lesion_class for organ in anatomy.organs.values()),
        *policy.own_classes(anatomy),
    }
    for name in lesion_classes:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
            raise UsageError(
                f"no mask, organ or policy rule has the lesion class {name}",
                code="unknown_lesion_class",
                hint=f"did you mean {near[0]}?",
            )
