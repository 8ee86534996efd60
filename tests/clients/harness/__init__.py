"""The parts of tests/clients/run."""
