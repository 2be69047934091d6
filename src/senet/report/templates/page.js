const button = document.getElementById("copy");
const command = document.getElementById("command");
button.hidden = false;
button.addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(command.textContent);
    button.textContent = "Copied";
  } catch {
    // Browsers may refuse the clipboard to pages opened from disk: select the text instead.
    getSelection().selectAllChildren(command);
    button.textContent = "Selected: press Ctrl+C";
  }
});
