"""The tree: a trace worked out by hand, and the rules by which a path ends."""

from __future__ import annotations

import math

import pytest

from promptology.search.uct import Tree

REWARDS = {"": (0.5, 0.4), "0": (0.6, 0.3), "1": (0.7, 0.1)}
"""Rewards of the children of each state; a state is the way to it from the root."""


def grown(rewards=REWARDS, root=0.2, **settings):
    """Return a tree, the function that expands its nodes, and the numbers of the expanded nodes."""
    tree, expanded = Tree("", root, **{"depth_limit": 2, "min_depth": 2, **settings}), []

    def expand(node):
        expanded.append(node.number)
        for n, reward in enumerate(rewards.get(node.state, ())):
            tree.add(node, node.state + str(n), reward)

    return tree, expand, expanded


def test_three_iterations_follow_the_trace_worked_out_by_hand():
    tree, expand, expanded = grown()
    first = tree.iterate(expand)
    root, a, b, c, d = tree.nodes
    assert [n.number for n in first] == [0, 1, 3] and expanded == [0, 1]
    assert c.returns == [0.6] and a.returns == [0.5 + 0.6] and root.returns == pytest.approx([0.2 + 0.5 + 0.6])
    assert (b.q, d.q, b.returns, d.returns) == (0.4, 0.3, [], [])  # nothing returned yet: Q is the reward
    step = 2.5 * math.sqrt(math.log(2))
    assert [tree.uct(n) for n in (a, b, c, d)] == pytest.approx([1.1 + step, 0.4 + step, 0.6 + step, 0.3 + step])
    assert tree.uct(a) == pytest.approx(3.181387, abs=1e-6) and tree.uct(b) == pytest.approx(2.481387, abs=1e-6)

    second = tree.iterate(expand)
    assert [n.number for n in second] == [0, 1, 3] and expanded == [0, 1]  # at the limit of depth: nothing new
    assert a.returns == [1.1, 1.1] and len(root.returns) == 2
    assert tree.uct(a) == pytest.approx(2.952880, abs=1e-6) and tree.uct(b) == pytest.approx(3.020368, abs=1e-6)

    third = tree.iterate(expand)
    assert [n.number for n in third] == [0, 2, 5] and expanded == [0, 1, 2]
    assert b.returns == pytest.approx([1.1]) and root.returns == pytest.approx([1.3] * 3)
    assert tree.best_so_far == 0.7
    assert [n.number for n in tree.ranked()] == [5, 3, 1, 2, 4, 0, 6]
    assert [[n.number for n in path] for path in tree.paths] == [[0, 1, 3], [0, 1, 3], [0, 2, 5]]


def test_before_anything_was_returned_uct_is_the_reward():
    tree, expand, _ = grown()
    expand(tree.root)
    assert [tree.uct(n) for n in tree.nodes] == [0.2, 0.5, 0.4]
    assert [n.number for n in tree.select()] == [0, 1]


def test_without_exploration_the_best_return_is_followed():
    tree, expand, expanded = grown(exploration=0.0)
    for _ in range(4):
        tree.iterate(expand)
    assert expanded == [0, 1] and len(tree.nodes) == 5


def test_a_mean_return_does_not_grow_with_the_path():
    tree, expand, _ = grown(mean=True)
    tree.iterate(expand)
    assert [tree.nodes[n].returns[0] for n in (0, 1, 3)] == pytest.approx([1.3 / 3, 1.1 / 2, 0.6])


def test_a_path_ends_early_where_it_beats_all_before_it_below_the_least_depth():
    rewards = {"": (0.5,), "0": (0.6,), "00": (0.7,), "000": (0.8,)}
    for least, end in ((0, 1), (1, 2), (2, 3)):
        tree, expand, _ = grown(rewards, depth_limit=8, min_depth=least)
        assert tree.iterate(expand)[-1].depth == end
        assert tree.best_so_far == tree.nodes[end].reward and not tree.nodes[end].dead
    tree.iterate(expand)  # goes on from there
    assert tree.nodes[-1].state == "0000" and tree.nodes[-1].reward == 0.8


def test_a_node_poorer_than_half_way_from_root_to_parent_ends_its_path_below_the_least_depth():
    rewards = {"": (0.8,), "0": (0.49,), "00": (0.9,)}
    tree, expand, expanded = grown(rewards, depth_limit=8, min_depth=1)
    assert [n.reward for n in tree.iterate(expand)] == [0.2, 0.8, 0.49]  # (0.2 + 0.8) / 2 > 0.49
    assert expanded == [0, 1]
    assert tree.ended(tree.nodes[2]) and not tree.ended(tree.nodes[1])
    tree.min_depth = 2
    assert not tree.ended(tree.nodes[2])


def test_a_node_that_stays_without_children_is_dead_and_never_asked_again():
    tree, expand, expanded = grown({}, depth_limit=8)
    for _ in range(3):
        assert tree.iterate(expand) == [tree.root]
    assert expanded == [0] and tree.root.dead and tree.root.returns == [0.2] * 3


def test_the_best_path_is_that_of_the_best_mean_reward():
    tree, expand, _ = grown({"": (0.1, 0.6), "0": (0.9,), "1": (0.7,)}, depth_limit=2)
    tree.paths = []
    expand(tree.root)
    expand(tree.nodes[1])
    expand(tree.nodes[2])
    tree.paths = [tree.nodes[3].line, tree.nodes[4].line]
    assert tree.ranked()[0].reward == 0.9
    assert [n.reward for n in tree.best_path()] == [0.7, 0.6, 0.2]
    assert Tree("", 0.3).best_path()[0].reward == 0.3
