"""Print a token for a user: signed with the secret in token.key, valid for ten minutes."""

import sys
import time
from pathlib import Path

import jwt

secret = Path("token.key").read_bytes().removesuffix(b"\n")
claims = {"sub": sys.argv[1], "groups": ["staff"], "exp": int(time.time()) + 600}
print(jwt.encode(claims, secret, algorithm="HS256"))
