{{- /* The name of every object: the release's, with the chart's unless it is in there already. */}}
{{- define "headgate.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "headgate.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "headgate.name" .) -}}
{{- end -}}

{{- define "headgate.cookieKeysSecret" -}}
{{- .Values.cookieKeysSecret | default (printf "%s-cookie-keys" (include "headgate.name" .)) -}}
{{- end -}}

{{- define "headgate.serviceType" -}}
{{- .Values.service.type | default (ternary "ClusterIP" "LoadBalancer" (eq .Values.kind "daemonset")) -}}
{{- end -}}

{{- /* NAMESPACE/NAME of --publish-service, or nothing. $(POD_NAMESPACE) is filled in by the kubelet. */}}
{{- define "headgate.publishService" -}}
{{- if or .Values.publishAddress (eq .Values.publishService "none") -}}
{{- else if ne .Values.publishService "auto" -}}
{{- .Values.publishService -}}
{{- else if ne (include "headgate.serviceType" .) "ClusterIP" -}}
$(POD_NAMESPACE)/{{ include "headgate.name" . }}
{{- end -}}
{{- end -}}

{{- /* Never changes in the life of a release: selectors can't. */}}
{{- define "headgate.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "headgate.labels" -}}
{{ include "headgate.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "headgate.subjects" -}}
- kind: ServiceAccount
  name: {{ include "headgate.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- /* What Headgate may read in no namespace. */}}
{{- define "headgate.rules.cluster" -}}
# The classes that say which Ingresses are ours.
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [list, watch]
# Whether the definition that the server has knows `spec.sticky`: Traefik's own does not, and a diagnostic says so.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: [middlewares.traefik.io]
  verbs: [list, watch]
{{- end -}}

{{- /* What Headgate may do in the namespaces that it serves. */}}
{{- define "headgate.rules.served" -}}
# The rules to serve.
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [list, watch]
# The backends that Ingresses name: their ports, session affinity and annotations.
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch]
# The pods behind the backends. Requests go straight to them.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
# Certificates (type kubernetes.io/tls) and the Secrets that Middlewares, ServersTransports and TLSOptions name.
- apiGroups: [""]
  resources: [secrets]
  verbs: [list, watch]
# What happens to a request on its way.
- apiGroups: [traefik.io]
  resources: [middlewares]
  verbs: [list, watch]
# How connections to pods are made.
- apiGroups: [traefik.io]
  resources: [serverstransports]
  verbs: [list, watch]
# How TLS handshakes with clients are done.
- apiGroups: [traefik.io]
  resources: [tlsoptions]
  verbs: [list, watch]
# The address under which an Ingress is served.
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
# What is wrong with an object, said on that object.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
