"""Scratch folders and the processes that they belong to."""

from __future__ import annotations

import os

import pytest

from lorafold.adapters.files.locks import claim, claim_left, discard

pytest.importorskip("fcntl")


def test_a_folder_in_use_is_left_alone_and_asking_keeps_nothing_open(tmp_path):
    lock, free = claim(tmp_path), os.dup(0)
    os.close(free)
    assert claim_left(tmp_path) is None
    again = os.dup(0)
    os.close(again)
    assert again == free
    discard(tmp_path, lock)
    assert not tmp_path.exists()


def test_a_folder_whose_process_is_gone_is_taken_over_by_one(tmp_path):
    os.close(claim(tmp_path))
    lock = claim_left(tmp_path)
    assert lock is not None and claim_left(tmp_path) is None
    discard(tmp_path, lock)
