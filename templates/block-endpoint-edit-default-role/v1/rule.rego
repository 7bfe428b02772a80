package block_endpoint_edit_default_role

import data.lib.request

resources = {["", "endpoints"], ["discovery.k8s.io", "endpointslices"]}

violation[{"msg": msg}] {
  role := request.object
  role.metadata.name == "system:aggregate-to-edit"
  rule := role.rules[_]
  names(rule.verbs, ["create", "update", "patch"][_])
  [group, resource] := resources[_]
  names(rule.apiGroups, group)
  names(rule.resources, resource)
  msg := sprintf("ClusterRole system:aggregate-to-edit must not allow to write %v.", [resource])
}

names(list, name) {
  {name, "*"}[list[_]]
}
