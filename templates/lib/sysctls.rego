package lib.sysctls

import data.lib.pod

# The names of the sysctls that the pod sets, as it writes them.
names = [sysctl.name | sysctl := pod.spec.securityContext.sysctls[_]]

# Kubernetes takes a/b.c as a.b/c too: the first separator tells which spelling it is. This is the one with dots.
dotted(name) = swapped {
  regex.match("^[^./]*/", name)
  swapped := replace(replace(replace(name, ".", "\n"), "/", "."), "\n", "/")
} else = name
