package pod_enforce_antiaffinity

import data.lib.request

violation[{"msg": msg}] {
  request.object.spec.replicas > 1
  not spread
  msg := sprintf(
    "%v with %v replicas should have either podAntiAffinity or topologySpreadConstraints set to avoid disruptions due to nodes crashing",
    [request.object.kind, request.object.spec.replicas],
  )
}

spread {
  request.object.spec.template.spec.affinity.podAntiAffinity
}

spread {
  request.object.spec.template.spec.topologySpreadConstraints[_]
}
