"""The kinds of plug-ins. Each is a folder; what plugs in there is listed nowhere.

Names of packages are text here, because this room lies below all of them.
"""

from __future__ import annotations

from plugins.registry import Kind

# Of a folder with `options.py` and the file named here; other packages offer theirs through the group.
ALGORITHMS = Kind("search algorithm", "search.algorithms", "algorithm", "winnow.algorithms")
METHODS = Kind("training method", "supernet.methods", "method", "winnow.methods")
SOURCES = Kind("data source", "supernet.data.sources", "source", "winnow.sources")
FORMATS = Kind("export format", "export.formats", "format", "winnow.formats")
RUNTIMES = Kind("runtime", "export.runtimes", "runtime", "winnow.runtimes")
# Those that installed packages may add to.
OPEN = (ALGORITHMS, METHODS, SOURCES, FORMATS, RUNTIMES)
# One file each. Families are in `search_space.plugins`: files of a user's folder count among them.
BLOCKS = Kind("block kind", "supernet.blocks")
MODELS = Kind("model", "predictors.models")
RECIPES = Kind("recipe", "job.recipes")
SCHEMES = Kind("quantization scheme", "quantization.schemes")
