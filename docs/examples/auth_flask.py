"""An application with a login of its own, which identifies clients for wsredis."""

import os
import secrets
import time
from pathlib import Path

from flask import Flask, jsonify, request, send_file, session

app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]

GROUPS = {"john": ["staff"]}


@app.get("/")
def page():
    return send_file(Path(__file__).with_name("auth_page.html"))


@app.post("/login")
def login():
    # A real application would check a password.
    session["user"] = request.json["user"]
    session["key"] = secrets.token_urlsafe()
    session["until"] = time.time() + 8 * 3600
    return "welcome"


@app.post("/logout")
def logout():
    session.clear()
    return "goodbye"


@app.get("/wsredis-auth")
def wsredis_auth():
    """The gateway forwards Flask's cookie, so `session` is the session of the client."""
    facility = request.headers["X-Wsredis-Facility"]
    user = session.get("user")
    if user is None:
        if facility.startswith("private/"):
            return jsonify(reason="log in first"), 401
        return jsonify(channels={"*": ["subscribe-broadcast"]})
    groups = GROUPS.get(user, [])
    return jsonify(user=user, groups=groups, session=session["key"], expires=session["until"])
