"""Which configuration suits a data set and a machine? Values, each with its reason, from what was seen of both."""

from pipeline.planning.facts import DataFacts
from pipeline.planning.machine import Machine, this_machine
from pipeline.planning.plan import Plan, make_plan

__all__ = ["DataFacts", "Machine", "Plan", "make_plan", "this_machine"]
