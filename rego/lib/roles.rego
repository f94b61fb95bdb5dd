package graphward.lib.roles

import rego.v2
