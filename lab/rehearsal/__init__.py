"""The whole production stack on one machine: stand-ins for what only Cloudflare and Vercel have; everything else is real."""
