package restricted_taints

import data.lib.request

violation[{"msg": msg}] {
  not system_pool
  key := request.object.spec.taints[_].key
  regex.match(input.parameters.reservedTaints[_], key)
  msg := sprintf("Taint with key <%v> is reserved for the system pool only", [key])
}

system_pool {
  {"system", "System"}[request.object.metadata.labels["kubernetes.azure.com/mode"]]
}
