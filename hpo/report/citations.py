"""BibTeX of the software that a run used, with the versions it recorded, and of its data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hpo.report.latex import escape

Fields = Mapping[str, str]

_SOFTWARE: Mapping[str, tuple[str, Fields]] = {
    "jax": (
        "software",
        {
            "author": "Bradbury, James and Frostig, Roy and Hawkins, Peter and Johnson, "
            "Matthew James and Leary, Chris and Maclaurin, Dougal and Necula, George and "
            "Paszke, Adam and VanderPlas, Jake and Wanderman-Milne, Skye and Zhang, Qiao",
            "title": "{JAX}: composable transformations of {Python}+{NumPy} programs",
            "url": "https://github.com/jax-ml/jax",
            "year": "2018",
        },
    ),
    "flax": (
        "software",
        {
            "author": "Heek, Jonathan and Levskaya, Anselm and Oliver, Avital and Ritter, "
            "Marvin and Rondepierre, Bertrand and Steiner, Andreas and van Zee, Marc",
            "title": "{Flax}: a neural network library and ecosystem for {JAX}",
            "url": "https://github.com/google/flax",
            "year": "2020",
        },
    ),
    "optax": (
        "software",
        {
            "author": "{DeepMind}",
            "title": "The {DeepMind} {JAX} Ecosystem",
            "url": "https://github.com/google-deepmind",
            "year": "2020",
        },
    ),
    "optuna": (
        "inproceedings",
        {
            "author": "Akiba, Takuya and Sano, Shotaro and Yanase, Toshihiko and Ohta, "
            "Takeru and Koyama, Masanori",
            "title": "{Optuna}: a next-generation hyperparameter optimization framework",
            "booktitle": "Proceedings of the 25th ACM SIGKDD International Conference on "
            "Knowledge Discovery and Data Mining",
            "doi": "10.1145/3292500.3330701",
            "year": "2019",
        },
    ),
    "ray": (
        "misc",
        {
            "author": "Liaw, Richard and Liang, Eric and Nishihara, Robert and Moritz, "
            "Philipp and Gonzalez, Joseph E. and Stoica, Ion",
            "title": "{Tune}: a research platform for distributed model selection and training",
            "eprint": "1807.05118",
            "archiveprefix": "arXiv",
            "year": "2018",
        },
    ),
    "numpy": (
        "article",
        {
            "author": "Harris, Charles R. and others",
            "title": "Array programming with {NumPy}",
            "journal": "Nature",
            "volume": "585",
            "pages": "357--362",
            "doi": "10.1038/s41586-020-2649-2",
            "year": "2020",
        },
    ),
    "scipy": (
        "article",
        {
            "author": "Virtanen, Pauli and others",
            "title": "{SciPy} 1.0: fundamental algorithms for scientific computing in {Python}",
            "journal": "Nature Methods",
            "volume": "17",
            "pages": "261--272",
            "doi": "10.1038/s41592-019-0686-2",
            "year": "2020",
        },
    ),
}

_RULES: Mapping[str, tuple[str, Fields]] = {
    "asha": (
        "inproceedings",
        {
            "author": "Li, Liam and Jamieson, Kevin and Rostamizadeh, Afshin and Gonina, "
            "Ekaterina and Ben-tzur, Jonathan and Hardt, Moritz and Recht, Benjamin and "
            "Talwalkar, Ameet",
            "title": "A system for massively parallel hyperparameter tuning",
            "booktitle": "Proceedings of Machine Learning and Systems",
            "volume": "2",
            "year": "2020",
        },
    ),
}

_DATA: Mapping[str, tuple[str, Fields]] = {
    "wiener_hammerstein": (
        "inproceedings",
        {
            "author": "Schoukens, Johan and Suykens, Johan and Ljung, Lennart",
            "title": "{Wiener--Hammerstein} benchmark",
            "booktitle": "15th IFAC Symposium on System Identification (SYSID)",
            "year": "2009",
        },
    ),
    "cascaded_tanks": (
        "misc",
        {
            "author": "Schoukens, Maarten and Mattsson, Per and Wigren, Torbj{\\\"o}rn and "
            "No{\\\"e}l, Jean-Philippe",
            "title": "Cascaded tanks benchmark combining soft and hard nonlinearities",
            "publisher": "4TU.ResearchData",
            "doi": "10.4121/12960104.v1",
            "year": "2016",
        },
    ),
    "bouc_wen": (
        "misc",
        {
            "author": "No{\\\"e}l, Jean-Philippe and Schoukens, Maarten",
            "title": "Hysteretic benchmark with a dynamic nonlinearity",
            "publisher": "4TU.ResearchData",
            "doi": "10.4121/12967592",
            "year": "2016",
        },
    ),
    "broad": (
        "article",
        {
            "author": "Laidig, Daniel and Caruso, Marco and Cereatti, Andrea and Seel, Thomas",
            "title": "{BROAD} -- a benchmark for robust inertial orientation estimation",
            "journal": "Data",
            "volume": "6",
            "number": "7",
            "pages": "72",
            "doi": "10.3390/data6070072",
            "year": "2021",
        },
    ),
    "beijing_air": (
        "misc",
        {
            "author": "Chen, Song",
            "title": "{Beijing} multi-site air quality",
            "publisher": "UCI Machine Learning Repository",
            "doi": "10.24432/C5RK5G",
            "year": "2017",
        },
    ),
    "sbibm": (
        "inproceedings",
        {
            "author": "Lueckmann, Jan-Matthis and Boelts, Jan and Greenberg, David and "
            "Goncalves, Pedro and Macke, Jakob",
            "title": "Benchmarking simulation-based inference",
            "booktitle": "Proceedings of the 24th International Conference on Artificial "
            "Intelligence and Statistics",
            "year": "2021",
        },
    ),
}  # fmt: skip


def bibtex(
    *,
    versions: Mapping[str, Any],
    commit: str | None,
    data: Mapping[str, Any],
    rules: Sequence[str] = (),
) -> str:
    """Entries for what a run used.

    Args:
        versions: Recorded versions by package; those without one are left out.
        commit: The commit of the folder that was launched from, where there was one.
        data: The reference of the data: ``name`` and ``hashes``.
        rules: The names of the stopping rules.
    """
    own = {
        "title": "{hpo}: a hyperparameter-optimisation harness in {JAX}",
        "note": _note(versions.get("hpo-harness"), commit),
    }
    entries = [_entry("software", "hpo-harness", own)]
    for name, (kind, fields) in _SOFTWARE.items():
        version = versions.get(name)
        if version:
            noted = {**fields, "note": _note(version, None)}
            entries.append(_entry(kind, name, noted))
    used = ((r, *_RULES[r]) for r in rules if r in _RULES)
    entries += [_entry(kind, name, fields) for name, kind, fields in used]
    if data.get("name"):
        entries.append(_data(str(data["name"]), data))
    return "\n".join(entries)


def _data(name: str, data: Mapping[str, Any]) -> str:
    hashes = data.get("hashes")
    told = hashes if isinstance(hashes, Mapping) else {}
    note = ", ".join(f"{part} {str(digest)[:12]}" for part, digest in told.items())
    note = f"SHA-256 of the parts as used: {note}" if note else ""
    kind, fields = _DATA.get(name, ("misc", {"title": _braced(name)}))
    return _entry(kind, name, {**fields, **({"note": note} if note else {})})


def _braced(text: str) -> str:
    """A foreign text as one word; a brace of its own would end the entry."""
    plain = text.translate(str.maketrans("{}", "()")).replace("\\", "/")
    return f"{{{escape(plain)}}}"


def _note(version: Any, commit: str | None) -> str:
    parts = [f"version {escape(str(version))}"] if version else []
    return ", ".join([*parts, *([f"commit {commit[:12]}"] if commit else [])])


def _entry(kind: str, key: str, fields: Fields) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    safe = re.sub(r"[^A-Za-z0-9:_-]", "-", key)
    return "\n".join([f"@{kind}{{{safe},", *lines, "}", ""])
