package lib.windows

import data.lib.pod

# Whether the rules for Windows alone judge the pod: it asks for Windows nodes, or says that it is for Windows.
judged {
  pod.windows
}

judged {
  pod.os_windows
}

# A field of the container's windowsOptions, else of the pod's: field by field, as the kubelet does.
option(container, field) = value {
  value := container.securityContext.windowsOptions[field]
} else = value {
  value := pod.spec.securityContext.windowsOptions[field]
}

# The user that the container or its pod names; undefined if neither does.
named_user(container) = option(container, "runAsUserName")

# The user that the container runs as: without a name, the base image decides.
user(container) = name {
  name := named_user(container)
} else = "ContainerUser" {
  nanoserver(container)
} else = "ContainerAdministrator"

nanoserver(container) {
  contains(container.image, "mcr.microsoft.com/windows/nanoserver")
}

# Windows ignores case, and calls the domain of a container's own users User Manager.
administrator(name) {
  trim_prefix(lower(name), `user manager\`) == "containeradministrator"
}

# An entry `domain\*` takes every user of this domain; others are names. Case counts.
matches(name, entry) {
  name == entry
}

matches(name, entry) {
  [domain, _] := split(name, `\`)
  entry == concat("", [domain, `\*`])
}
