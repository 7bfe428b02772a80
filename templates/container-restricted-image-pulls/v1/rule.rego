package container_restricted_image_pulls

import data.lib.containers
import data.lib.pod
import data.lib.request

violation[{"msg": msg}] {
  not pod.spec.imagePullSecrets
  containers.pod_judged
  msg := sprintf(
    "%v in %v does not have imagePullSecrets. Unauthenticated image pulls are not recommended.",
    [request.name, request.namespace],
  )
}
