package container_allowed_pull_policy

import data.lib.containers

violation[{"msg": msg}] {
  container := containers.all[_]
  not containers.excluded_by_image(container)
  policy := policy_of(container)
  not allowed(policy)
  msg := sprintf(
    "Image pull policy %v for container %v is not been allowed. allowed policies: %v",
    [policy, container.name, input.parameters.allowedPullPolicy],
  )
}

allowed(policy) {
  policy == input.parameters.allowedPullPolicy[_]
}

# A file that no API server has seen may lack it: the default depends on the image's tag.
policy_of(container) = container.imagePullPolicy {
  container.imagePullPolicy != ""
} else = "Always" {
  is_latest(container.image)
} else = "IfNotPresent"

# The last part of the name has the tag latest, or neither a tag nor a digest.
is_latest(image) {
  regex.match("(^|/)[^:@/]+(:latest)?$", image)
}
