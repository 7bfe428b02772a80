package enforce_apparmor_profile

import data.lib.containers
import data.lib.pod
import data.lib.request
import data.lib.security

violation[{"msg": msg}] {
  not pod.windows
  container := containers.all[_]
  not containers.excluded(container)
  not allowed(profile_of(container))
  msg := sprintf(
    "AppArmor profile is not allowed, pod: %v, container: %v. Allowed profiles: %v",
    [request.name, container.name, input.parameters.allowedProfiles],
  )
}

allowed(profile) {
  profile == input.parameters.allowedProfiles[_]
}

allowed(profile) {
  startswith(profile, "localhost/")
  "localhost/*" == input.parameters.allowedProfiles[_]
}

# The annotation, else the field of the container or the pod, else the runtime's default profile.
profile_of(container) = profile {
  profile := pod.annotation(concat("/", ["container.apparmor.security.beta.kubernetes.io", container.name]))
} else = profile {
  profile := written(security.setting(container, "appArmorProfile"))
} else = "runtime/default"

# A field as an annotation writes it.
written(field) = {"RuntimeDefault": "runtime/default", "Unconfined": "unconfined"}[field.type]

written(field) = concat("/", ["localhost", field.localhostProfile]) {
  field.type == "Localhost"
}
