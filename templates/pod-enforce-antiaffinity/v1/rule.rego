package pod_enforce_antiaffinity

import data.lib.pod
import data.lib.request

# One pod alone has nothing to be kept apart from; one is also what Kubernetes takes where no number is given.
violation[{"msg": msg}] {
  request.object.spec.replicas > 1
  not spread
  named := [request.object.kind, request.name, request.object.spec.replicas]
  msg := sprintf("%v %v must keep its %v pods apart: set podAntiAffinity or topologySpreadConstraints.", named)
}

spread {
  terms := ["requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"][_]
  count(pod.spec.affinity.podAntiAffinity[terms]) > 0
}

spread {
  count(pod.spec.topologySpreadConstraints) > 0
}
