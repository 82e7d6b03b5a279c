"""The formalism: schedule, process, samplers."""
