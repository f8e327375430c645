// A page that was opened as a file may start no worker, and the search runs in one: run its script in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      this.scope = new Promise(resolve => frame.addEventListener("load", () => {
        const scope = frame.contentWindow
        const script = scope.document.createElement("script")
        scope.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
        script.src = new URL(url, location.href).href
        script.addEventListener("load", () => resolve(scope))
        scope.document.body.append(script)
      }, { once: true }))
      document.body.append(frame)
    }

    async postMessage(data) {
      const scope = await this.scope
      scope.dispatchEvent(new MessageEvent("message", { data }))
    }
  }
}
