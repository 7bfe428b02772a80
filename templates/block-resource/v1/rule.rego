package block_resource

import data.lib.kubernetes
import data.lib.request

violation[{"msg": msg}] {
  namespace := request.object.metadata.namespace
  not kubernetes.own
  msg := sprintf(
    "%v resource except default in namespace %v is not allowed, name: %v",
    [request.object.kind, namespace, request.name],
  )
}
