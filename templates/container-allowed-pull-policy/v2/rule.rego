package container_allowed_pull_policy

import data.lib.containers
import data.lib.images

allowed = {policy | policy := input.parameters.allowedPullPolicy[_]}

violation[{"msg": msg}] {
  container := containers.checked[_].container
  policy := policy_of(container)
  not allowed[policy]
  msg := sprintf("Container %v must not have the pull policy %v; allowed: %v.", [container.name, policy, sort(allowed)])
}

# Kubernetes' default depends on the tag.
policy_of(container) = policy {
  policy := container.imagePullPolicy
  policy != null
  policy != ""
} else = "Always" {
  images.latest(images.of(container))
} else = "IfNotPresent"
