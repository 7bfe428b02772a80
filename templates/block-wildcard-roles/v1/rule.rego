package block_wildcard_roles

import data.lib.request

violation[{"msg": msg}] {
  role := request.object
  field := ["apiGroups", "resources", "verbs", "nonResourceURLs"][_]
  has_wildcard(role.rules[_][field])
  msg := sprintf("%v %v must name its %v instead of the wildcard *.", [role.kind, role.metadata.name, field])
}

# */scale is the scale of every resource.
has_wildcard(names) {
  name := names[_]
  startswith(name, "*")
}
