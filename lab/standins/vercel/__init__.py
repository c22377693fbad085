"""The local Vercel: builds deployments with Vercel's own command line and serves them as Vercel would.

build.py makes the output, serve.mjs serves one output, platform.mjs serves all deployments on one port, platform.py keeps them in
step with the world. No account and no request to Vercel. Not here: the API that a program deploys through
(lab/standins/providers/vercel.py).
"""
