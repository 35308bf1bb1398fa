"""Everything that talks to an OpenAI-compatible server, or is one."""
