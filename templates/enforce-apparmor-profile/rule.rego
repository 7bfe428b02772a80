package enforce_apparmor_profile

import data.lib.containers
import data.lib.pod
import data.lib.request

# Annotations alone count, and each container needs one.
violation[{"msg": msg}] {
  container := containers.without_ephemeral[_]
  not allowed(container)
  msg := sprintf(
    "AppArmor profile is not allowed, pod: %v, container: %v. Allowed profiles: %v",
    [request.name, container.name, input.parameters.allowedProfiles],
  )
}

allowed(container) {
  annotation := concat("/", ["container.apparmor.security.beta.kubernetes.io", container.name])
  pod.annotation(annotation) == input.parameters.allowedProfiles[_]
}
