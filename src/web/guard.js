// Says what is wrong where the page does not start: its script is refused, cut off, too new for the browser, or fails.
// In words that a browser of 2010 knows, since that may be the one that reads it.
(function () {
  var why = "";
  function starting() {
    return document.body && document.body.getAttribute("data-view") === "starting";
  }
  function say() {
    if (!starting()) return;
    document.getElementById("trouble-why").appendChild(document.createTextNode(why));
    document.getElementById("reload").onclick = function () {
      location.reload();
    };
    document.body.setAttribute("data-view", "trouble");
  }
  addEventListener("error", function (event) {
    if (!why && event.message) why = event.message;
  });
  addEventListener("load", say);
})();
