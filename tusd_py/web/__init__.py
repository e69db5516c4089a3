"""Everything aiohttp: routes, reading of bodies, answers."""
