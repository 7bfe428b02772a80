package disallowed_bad_pod_disruption_budgets

import data.lib.request
import data.lib.selectors

violation[{"msg": msg}] {
  {0, "0", "0%"}[request.object.spec.maxUnavailable]
  msg := sprintf("PodDisruptionBudget %v must allow more than 0 unavailable pods: maxUnavailable is 0.", [request.object.metadata.name])
}

violation[{"msg": msg}] {
  request.object.spec.minAvailable == "100%"
  msg := sprintf("PodDisruptionBudget %v must not ask for all pods to be available: minAvailable is 100%%.", [request.object.metadata.name])
}

violation[{"msg": msg}] {
  least := needed(request.object.spec.minAvailable, replicas)
  replicas > 0
  least >= replicas
  msg := sprintf("PodDisruptionBudget %v must not ask for %v available pods: it covers %v.", [request.object.metadata.name, least, replicas])
}

# The pods that the budget covers, as far as Deployments and StatefulSets make them.
replicas = sum([wanted |
  workload := data.inventory.namespace[request.namespace]["apps/v1"][["Deployment", "StatefulSet"][_]][_]
  selectors.matches(request.object.spec.selector, labels(workload))
  wanted := wanted_by(workload)
])

labels(workload) = value {
  value := workload.spec.template.metadata.labels
} else = {}

wanted_by(workload) = number {
  number := workload.spec.replicas
  number != null
} else = 1

needed(least, _) = least {
  is_number(least)
}

# Kubernetes rounds up.
needed(least, all) = ceil((to_number(trim_suffix(least, "%")) * all) / 100) {
  least != "100%"
}
