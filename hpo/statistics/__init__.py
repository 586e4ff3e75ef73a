"""Intervals, tests and expectations: plain functions of numbers. scipy is loaded when asked."""
