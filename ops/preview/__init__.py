"""``ops preview``: what a change would do to a stack, told so that it can be judged before anyone reads code."""
