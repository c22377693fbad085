"""The parts that rules are made of, and how they run; nothing here knows a provider."""
