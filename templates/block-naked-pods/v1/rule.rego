package block_naked_pods

import data.lib.request

violation[{"msg": msg}] {
  pod := request.object
  not controlled(pod)
  msg := sprintf("Pod %v must be owned by a controller, such as a Deployment's ReplicaSet, a DaemonSet or a Job.", [request.name])
}

controlled(pod) {
  pod.metadata.ownerReferences[_].controller == true
}
