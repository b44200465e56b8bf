"""A world with a known truth: items, people, the log they leave, and what the best recommendations would be."""

from upnext.simulation.describe import describe
from upnext.simulation.frames import SimulatedData, load_truth, simulate, write_world
from upnext.simulation.oracle import expected_value, oracle_top
from upnext.simulation.world import World, WorldConfig

__all__ = [
    "SimulatedData",
    "World",
    "WorldConfig",
    "describe",
    "expected_value",
    "load_truth",
    "oracle_top",
    "simulate",
    "write_world",
]
