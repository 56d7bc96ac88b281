"""Names for the artifacts of one stage that different groups of arms use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tsqa.pipeline.node import Node, upstream_of
from tsqa.recipe import Arm, key_tails, named_values


def name_variants(nodes: Sequence[Node], arms: Sequence[Arm]) -> list[Node]:
    """The nodes, with a variant where arms use different artifacts of a stage that they share."""
    users: dict[str, list[Arm]] = {}
    trained = {node.arm: node for node in nodes if node.stage == "train"}
    for arm in arms:
        if arm.name in trained:
            for fingerprint in upstream_of(trained[arm.name]):
                users.setdefault(fingerprint, []).append(arm)
    used: dict[tuple[str, str], list[Node]] = {}
    for node in nodes:
        own = bool(arms) and node.recipe.name == arms[0].recipe.name
        if own and node.arm is None and node.fingerprint in users:
            used.setdefault((node.stage, node.definition.part), []).append(node)
    names: dict[str, str] = {}
    for several in used.values():
        if len(several) > 1:
            variants = what_differs([users[node.fingerprint] for node in several])
            names |= {node.fingerprint: v for node, v in zip(several, variants, strict=True)}
    named: dict[object, Node] = {}
    for node in nodes:
        inputs = {role: named[upstream.key] for role, upstream in node.inputs.items()}
        made = replace(node, variant=names.get(node.fingerprint, ""), inputs=inputs)
        # Neither depends on the variant, and both read files.
        vars(made).update(config=node.config, fingerprint=node.fingerprint)
        named[node.key] = made
    return list(named.values())


def what_differs(groups: Sequence[Sequence[Arm]]) -> list[str]:
    """A name for each group of arms: the settings that its arms share and other groups have not.

    Where no setting tells them apart, the largest group has no name.
    """
    tails = key_tails({key for group in groups for arm in group for key in arm.values})
    shared = [
        {
            key: arms[0].values.get(key)
            for key in tails
            if all(arm.values.get(key) == arms[0].values.get(key) for arm in arms)
        }
        for arms in groups
    ]
    told = [key for key in tails if all(key in values for values in shared)]
    told = [key for key in told if any(v[key] != shared[0][key] for v in shared)]
    names = [
        named_values({key: values[key] for key in told if key in arms[0].values}, tails)
        for values, arms in zip(shared, groups, strict=True)
    ]
    if len(set(names)) == len(groups):
        return names
    largest = max(groups, key=len)
    return ["" if arms is largest else arms[0].condition for arms in groups]
