package block_naked_pods

import data.lib.request

violation[{"msg": msg}] {
  request.object
  not request.object.metadata.ownerReferences
  msg := sprintf("Naked pod is not allowed, pod: %v", [request.name])
}
