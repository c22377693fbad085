"""A Pulumi provider for Skyvern's API: workflows, schedules, credentials, folders, and browser profiles that a person saved.

It imports nothing of this project, so that other programs can use it (README.md). ``resources`` are the classes for programs,
``kinds`` what is asked of the API for each, ``api`` the client, ``server`` the engine's side.
"""
