"""Runs: their folder, record, resumption, evaluator, tracker."""
