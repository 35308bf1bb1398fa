"""Rewards: how good a response is, from 0 to 1, for the constitution that wants every principle of its set."""
