package block_endpoint_edit_default_role

import data.lib.request

violation[{"msg": msg}] {
  request.object.metadata.name == "system:aggregate-to-edit"
  rule := request.object.rules[_]
  {"*", "endpoints", "endpointslices"}[rule.resources[_]]
  {"*", "create", "patch", "update"}[rule.verbs[_]]
  msg := "ClusterRole system:aggregate-to-edit should not allow endpoint edit permissions. See CVE-2021-25740."
}
